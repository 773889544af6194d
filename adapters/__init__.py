"""Built-in adapters: guests that know only `gateway.adapter_contract`."""
