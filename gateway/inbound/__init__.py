"""Mail that comes in: ``mailto:`` unsubscribes, bounces and complaints."""
