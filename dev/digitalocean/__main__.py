from dev.digitalocean.app import StandIn
from dev.digitalocean.settings import Settings
from dev.serving import serve

serve("dev.digitalocean", "A stand-in for DigitalOcean's API.", Settings, StandIn)
