"""std against no_std, paired over seeds."""
