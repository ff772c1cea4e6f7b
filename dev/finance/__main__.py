from dev.finance.app import Finance
from dev.finance.tokens import Settings
from dev.serving import serve

serve("dev.finance", "A stand-in for the finance service.", Settings, Finance)
