"""How an autograd graph becomes a picture: colours, labels, DOT, layout."""
