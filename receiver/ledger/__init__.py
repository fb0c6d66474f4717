"""What is true, and the only way to change it.

`states`, `records`, `merge` and its parts are pure; `tables`, `store`, `apply` and `queries` speak to the database.
"""
