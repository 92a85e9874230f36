"""What state the cells of a sweep are in, as their run folders and jobs tell, and how that is shown."""
