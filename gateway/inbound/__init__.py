"""Mail that comes in: unsubscribes, bounces and complaints."""
