"""OpenAI, Azure OpenAI and what speaks as they do."""
