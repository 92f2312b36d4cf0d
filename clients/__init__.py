"""One home: its Flower ClientApp, its agent, and its membership of a fleet."""

if __name__ != "fedhome.clients":
    raise ImportError("this folder is the package fedhome.clients: import it by that name")
