"""What is sent, what is wanted, what arrived: the transfer's machines. Pure."""
