"""From files to tables of cells, whatever wrote them."""
