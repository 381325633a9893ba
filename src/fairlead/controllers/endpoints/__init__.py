"""EndpointSlices and Endpoints: the addresses behind Services."""
