"""The site's pages, what makes and checks them (`tools`), and their pictures (`pictures`)."""
