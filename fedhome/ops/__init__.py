"""What keeps processes going: children, services, certificates, requests that wait."""
