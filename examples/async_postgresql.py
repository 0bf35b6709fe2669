"""An MPPS server in an event loop of its own, with a database: nothing waits for PostgreSQL but the
association that has asked.

Needs psycopg and its pool: pip install 'psycopg[binary,pool]'
"""

import asyncio
import sys

from psycopg_pool import AsyncConnectionPool
from pynetdicom import AE, evt
from pynetdicom.sop_class import ModalityPerformedProcedureStep

import nset.scp
from nset import StatusError, status

SCHEMA = "CREATE TABLE IF NOT EXISTS step (uid text PRIMARY KEY, state text, attributes jsonb)"
CREATE = "INSERT INTO step VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
CHANGE = """UPDATE step SET state = %s, attributes = attributes || %s
    WHERE uid = %s AND state = 'IN PROGRESS'"""


async def create(event, pool):
    step = event.attribute_list
    values = step.PerformedProcedureStepStatus, step.to_json()
    async with pool.connection() as connection:
        done = await connection.execute(CREATE, (event.request.AffectedSOPInstanceUID, *values))
    if not done.rowcount:
        raise StatusError(status.DUPLICATE_SOP_INSTANCE)
    return status.SUCCESS, None  # the transaction is committed


async def change(event, pool):
    changes = event.modification_list
    values = changes.get("PerformedProcedureStepStatus", "IN PROGRESS"), changes.to_json()
    async with pool.connection() as connection:
        done = await connection.execute(CHANGE, (*values, event.request.RequestedSOPInstanceUID))
    if not done.rowcount:
        raise StatusError(status.NO_SUCH_SOP_INSTANCE, "There is none IN PROGRESS")
    return status.SUCCESS, None


async def main(url, address=("", 11112), started=print):
    ae = AE("MPPS")
    ae.add_supported_context(ModalityPerformedProcedureStep)
    async with AsyncConnectionPool(url) as pool:
        async with pool.connection() as connection:
            await connection.execute(SCHEMA)
        handlers = [(evt.EVT_N_CREATE, create, [pool]), (evt.EVT_N_SET, change, [pool])]
        async with await nset.scp.serve(ae, address, evt_handlers=handlers) as server:
            started(server)
            await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
