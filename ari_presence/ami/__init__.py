"""The manager interface (AMI): used for what ARI does not tell, such as which call is in which parking space."""
