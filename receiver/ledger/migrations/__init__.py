"""The steps from nothing to today's schema. Each says in full what it makes, so that no later change of the code alters
what an old step did. They only go up: the way back is a backup.
"""
