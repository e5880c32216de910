"""Studies: presets, and measurements that turn trained runs into tidy tables."""
