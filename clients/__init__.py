"""One home: its sources of data and its Flower ClientApp."""
