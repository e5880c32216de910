"""What theorems predict: a module a paper, a function a statement; they import nothing of ours."""
