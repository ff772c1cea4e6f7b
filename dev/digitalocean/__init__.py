"""A stand-in for DigitalOcean's API: a stateful server for tests, benchmarks and the demo.

    python -m dev.digitalocean --port 4020 --droplets 300

It answers `/v2/...` as the provider does, quirks included, for any token beginning with `dop_v1_`. What a
person could do at the provider's console, what can go wrong, and what was asked of it are under `/_control/...`;
`control.Control` is the typed client of that, and `running.running_stand_in` starts a server on a free port for as
long as a `with` block.

    settings.py   how it behaves, all of which can be changed while it runs
    clock.py      the provider's time: seeded, can run faster, can be advanced
    http.py       requests, answers, routes; paging.py the pages of a list
    family.py     what one family of resources declares; families.py the list of them
    state.py      the rows; droplets.py actions.py projects.py tags.py account.py what each family does;
                  domains.py records.py record_data.py the zones, their records, and what a record may be;
                  billing.py what the account has cost, invoices.py its invoices back to 2014
    catalog.py    sizes, regions, images; fleet.py the seeded fleet
    limits.py     the rate budget; faults.py what goes wrong by switch; journal.py what was asked
    app.py        the order in which a request is checked; control_api.py the control routes; the socket is in
                  dev/serving.py, for all stand-ins

Nothing survives a restart, and the same seed gives the same fleet.
"""
