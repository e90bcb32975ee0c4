"""The service: what it answers, what it refuses, many threads at once, and its page in a real browser."""

import json
import shutil
import subprocess
import sys
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from fastapi.testclient import TestClient
from retrievers import untrained

from r4t_utils.retriever import __main__ as command
from r4t_utils.retriever import serve
from r4t_utils.run import paths
from r4t_utils.space.index import SearchFailed


@pytest.fixture(scope="module")
def retriever():
    return untrained()


@pytest.fixture(scope="module")
def client(retriever):
    return TestClient(serve.app(retriever))


def test_a_search_answers_with_what_the_retriever_finds(client, retriever):
    answer = client.get("/search", params={"q": "a red coat", "k": 4, "seed": 3})
    found = retriever.search("a red coat", k=4, seed=3)
    assert answer.status_code == 200
    assert answer.json() == {
        "query": "a red coat",
        "merging": "fusion",
        "query_weight": 0.5,
        "results": found[["id", "title", "direction", "distance"]].to_dict("records"),
    }
    assert len(client.get("/search", params={"q": "hat"}).json()["results"]) == 10


def test_three_ways_to_answer_stand_side_by_side(client, retriever):
    sets = client.get("/compare", params={"q": "summer hat", "k": 5}).json()["sets"]
    assert list(sets) == ["No fan-out", "MMR", "R4T"]
    nearest = retriever.index.search(retriever.encode(["summer hat"]), 5)[0][0].tolist()
    assert [row["id"] for row in sets["No fan-out"]] == nearest
    for rows in sets.values():
        assert len({row["id"] for row in rows}) == 5
        assert all(row["title"] == retriever.titles[row["id"]] for row in rows)


def test_health_says_what_is_served(client, retriever):
    found = client.get("/health").json()
    assert found == {"status": "ok", "contents": 30, "space": retriever.encoder.space, "most": 10}


@pytest.mark.parametrize(
    "asked, words",
    [
        ({}, "Field required"),
        ({"q": "  "}, "the query is empty"),
        ({"q": "x" * 2001}, "at most 2000 characters"),
        ({"q": "hat", "k": 0}, "greater than or equal to 1"),
        ({"q": "hat", "k": 11}, "less than or equal to 10"),
        ({"q": "hat", "k": "many"}, "valid integer"),
        ({"q": "hat", "seed": -1}, "greater than or equal to 0"),
        ({"q": "hat", "seed": 2**32}, "less than 4294967296"),
    ],
)
@pytest.mark.parametrize("path", ["/search", "/compare"])
def test_a_wrong_question_is_answered_by_a_reason(client, path, asked, words):
    answer = client.get(path, params=asked)
    assert answer.status_code == 422 and words in json.dumps(answer.json()["detail"])


@pytest.mark.parametrize("path", ["/search", "/compare"])
def test_an_engine_that_is_down_is_no_fault_of_the_question(retriever, monkeypatch, caplog, path):
    def down(*_):
        raise SearchFailed("Milvus at 'http://10.0.0.7:19530': no route to host")

    client = TestClient(serve.app(retriever))
    monkeypatch.setattr(retriever.index, "search", down)
    answer = client.get(path, params={"q": "hat"})
    assert answer.status_code == 503 and "10.0.0.7" not in answer.text and "ask again later" in answer.text
    assert "10.0.0.7" in caplog.text


@pytest.mark.parametrize("port", ["65536", "-1", "http"])
def test_a_port_that_is_none_is_refused_before_anything_is_loaded(port, capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(["serve", "nowhere", f"--port={port}"])
    assert stopped.value.code == 2 and f"'{port}' must be a whole number from 0 to 65535" in capsys.readouterr().err


def test_it_describes_itself(client):
    described = client.get("/openapi.json").json()
    assert set(described["paths"]) == {"/search", "/compare", "/health"}
    names = {p["name"]: p for p in described["paths"]["/search"]["get"]["parameters"]}
    assert set(names) == {"q", "k", "seed"} and names["k"]["schema"]["maximum"] == 10
    assert client.get("/docs").status_code == 200


@pytest.mark.training
def test_eight_threads_are_answered_as_one_would_be_and_memory_stays(retriever):
    queries = [
        f"{colour} {thing} number {i}" for i in range(40) for colour in ("red", "blue") for thing in ("hat", "bag")
    ]
    alone = {query: retriever.search(query, k=5).id.tolist() for query in queries}

    def ask(query):
        assert retriever.search(query, k=5).id.tolist() == alone[query]

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(ask, queries * 2))  # until every thread has what it needs
        before = psutil.Process().memory_info().rss
        list(threads.map(ask, queries * 3))
    assert psutil.Process().memory_info().rss - before < 20e6


def test_a_folder_without_a_retriever_is_status_2(tmp_path, capsys):
    assert command.main(["serve", str(tmp_path)]) == 2
    assert "holds no retriever" in capsys.readouterr().err


def test_without_the_extra_it_says_what_to_install(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert command.main(["serve", str(tmp_path)]) == 2
    assert "pip install 'r4t_utils[serve]'" in capsys.readouterr().err


# In a browser


@pytest.fixture(scope="module")
def address(retriever, tmp_path_factory):
    """Where a service listens that was started by the command, as a user starts it."""
    folder = tmp_path_factory.mktemp("served") / "oar"
    retriever.save_pretrained(folder)
    call = [sys.executable, "-m", "r4t_utils.retriever", "serve", str(folder), "--port", "0"]
    process = subprocess.Popen(call, cwd=paths.ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    for line in process.stderr:
        if "running on" in line:
            yield line.partition("running on ")[2].split()[0]
            break
    threading.Thread(target=process.stderr.read, daemon=True).start()
    process.terminate()
    process.wait(20)


@pytest.mark.training
def test_the_command_serves(address):
    with urllib.request.urlopen(f"{address}/search?q=hat&k=3") as answer:
        assert len(json.load(answer)["results"]) == 3


@pytest.mark.training
def test_the_page_shows_the_sets_in_a_browser(address, tmp_path):
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no chromium to open the page with")
    script = f"{address}/?q=red+hat"
    call = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
    call += ["--virtual-time-budget=8000", "--dump-dom", script]
    page = subprocess.run(call, capture_output=True, text=True, timeout=120).stdout
    assert page.count("<section>") == 3 and all(f"<h2>{name}</h2>" in page for name in ("No fan-out", "MMR", "R4T"))
    assert page.count("<li>") == 30
