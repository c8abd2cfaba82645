"""The demo: a trained network, real images, and a user who has both compressed by the service."""
