"""What a study lacks is asked of the sources (Query/Retrieve Service Class as SCU, PS3.4 Annex C)."""
