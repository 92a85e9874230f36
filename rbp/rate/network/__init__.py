"""The user's network: its modules, the state that its own code keeps, and temporary changes to it."""
