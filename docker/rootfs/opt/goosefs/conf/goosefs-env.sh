# Fluid's jobs append variables here. `goosefs` takes them from the environment and from goosefs-site.properties.
