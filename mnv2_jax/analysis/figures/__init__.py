"""Figures of matplotlib, from records alone, as SVG and PNG."""
