"""Operations: the durable engine that runs them."""
