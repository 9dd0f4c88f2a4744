"""Which view answers what."""

from django.contrib import admin
from django.urls import path

from operations.views import health
from orders.views import order, orders, payments
from tickets.views import tickets
from users.views import avatar, session

urlpatterns = [
    path("admin/", admin.site.urls),
    path("health/", health),
    path("session/", session),
    path("avatar/", avatar),
    path("orders/", orders),
    path("orders/<int:number>/", order),
    path("orders/<int:number>/payments/", payments),
    path("tickets/", tickets),
]
