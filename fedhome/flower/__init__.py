"""All that touches Flower: its messages, its fleet API, its SuperLink, a run over its grid."""
