from dev.digitalocean.server import main

main()
