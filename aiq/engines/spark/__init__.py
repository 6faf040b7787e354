"""Spark: how rows reach the gateway on a cluster. Imported only where Spark is used; `import aiq` never does."""
