"""ResourceQuotas: how much of each is used."""
