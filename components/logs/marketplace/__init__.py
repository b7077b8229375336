"""The sample marketplace: a simulated shop whose log shows what each technique of retrieval is for."""
