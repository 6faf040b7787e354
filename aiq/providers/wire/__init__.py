"""What the wire formats of several vendors share: the stream loop, schema subsets, HTTP values, error words. Pure."""
