"""What users get through the load balancer while nothing is wrong."""

from __future__ import annotations

import asyncio

import httpx

from app.client import connect
from tests.docker.deployment import ENGINE_NEEDED, Deployment
from tests.support.wire import WireClient, ends, is_a, transcript

pytestmark = ENGINE_NEEDED


async def test_a_conversation_through_the_load_balancer(deployment: Deployment) -> None:
    async with connect(deployment.url, agent="echo", token=deployment.token("ada")) as client:
        assert await client.ask("hello") == "Received: hello"
        assert await client.ask("again") == "Received: again"


async def test_nobody_talks_without_a_token(deployment: Deployment) -> None:
    stranger = await WireClient.connect(deployment.ws_url)
    await stranger.send("hello", client="a-stranger")
    assert (await stranger.closed())[0] == 4401


async def test_two_tabs_on_two_workers_see_the_same(deployment: Deployment) -> None:
    token = deployment.token("ada")
    first = await WireClient.connect(deployment.ws_url)
    await first.hello(agent="countdown", token=token)
    second = await WireClient.connect(deployment.ws_url)
    await second.hello(session=first.welcome["session"], token=token)
    # the worker with the fewest gets the next client
    assert second.welcome["worker"] != first.welcome["worker"]
    await first.count("message", content="10")
    turn = (await first.collect(is_a("ack")))[-1]["turn"]
    await asyncio.gather(first.collect(ends(turn)), second.collect(ends(turn)))
    assert first.raw_events == second.raw_events
    assert transcript(second.frames)[-1] == ("assistant", "10 9 8 7 6 5 4 3 2 1 Liftoff!")
    await asyncio.gather(first.close(), second.close())


async def test_a_file_is_there_for_every_worker(deployment: Deployment, http: httpx.AsyncClient) -> None:
    client = await WireClient.connect(deployment.ws_url)
    session = (await client.hello(agent="data", token=deployment.token("ada")))["session"]
    content = b"a,b\n" + b"1,2\n" * 100_000
    made = await http.post(f"/sessions/{session}/files", params={"name": "numbers.csv"}, content=content)
    assert made.status_code == 201, made.text
    for _ in range(4):  # of idle workers each gets its turn
        assert (await http.get(made.json()["url"])).content == content
    find = f"find $PARLEY_DATA_DIR -name {made.json()['id']}"
    assert all(deployment.execute(worker, find) for worker in deployment.containers("app"))
    await client.close()


async def test_a_push_and_the_page_come_through(deployment: Deployment, http: httpx.AsyncClient) -> None:
    client = await WireClient.connect(deployment.ws_url)
    session = (await client.hello(agent="echo", token=deployment.token("ada")))["session"]
    assert (await http.post(f"/sessions/{session}/messages", json={"content": "news"})).status_code == 202
    await client.collect(lambda frame: "news" in str(frame.get("events")))
    page = await http.get("/")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    await client.close()


async def test_what_workers_count_is_not_for_the_public(http: httpx.AsyncClient) -> None:
    assert (await http.get("/metrics")).status_code == 404
    assert (await http.get("/")).status_code == 200


async def test_pages_of_other_names_are_refused(http: httpx.AsyncClient) -> None:
    own = {"Origin": str(http.base_url)}
    assert (await http.get("/agents", headers=own)).status_code == 200
    assert (await http.get("/agents", headers={"Origin": "http://elsewhere.example.org"})).status_code == 403
    # a name of its own that it has resolve to this machine
    assert (await http.get("/agents", headers={"Host": "rebound.example.org"})).status_code == 403
