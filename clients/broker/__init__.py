"""A broker of MQTT in the house: where it is, the connection to it, and what a home says there."""
