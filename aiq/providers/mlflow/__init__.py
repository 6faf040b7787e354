"""What MLflow serves: custom models and agents."""
