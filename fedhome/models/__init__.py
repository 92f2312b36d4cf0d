"""Models: the multilayer perceptron and the checks that every module passes."""
