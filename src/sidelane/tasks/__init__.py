"""Declaration of tasks: the decorator, calls, resources, placeholders, the registry."""
