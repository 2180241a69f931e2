"""Workers, clients and the store under faults, and what must hold all the while."""
