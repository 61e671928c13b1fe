"""Writers, watchers and listers on a server that is killed at random moments, and a check of what they saw.

usage: history.py CERTIFICATE KEY AUTHORITY STOP [NAMESPACE]

Runs until the file STOP exists; then everybody sees the last event, and the history is judged. Each thing that
must hold (see `judge`) is a line "ok - ..." or "not ok - ..." with the first few that break it.

Writers make, replace (compare-and-swap by resourceVersion), patch and delete ten config maps. What a write puts
there is a word of its own, with the version that a swap was built on, so that an event says by itself who made it
and on what. A write whose answer never came may have happened or not, once. Watchers list, watch, and after each
break go on from the last version they saw.
"""

import http.client
import json
import os
import random
import ssl
import sys
import threading
import time

CERTIFICATE, KEY, AUTHORITY, STOP = sys.argv[1:5]
BASE = "/api/v1/namespaces/%s/configmaps" % (sys.argv[5] if len(sys.argv) > 5 else "history")
KEYS = ["k%d" % i for i in range(10)]
WRITERS, WATCHERS, LISTERS = 6, 5, 2
PATIENCE = 60

context = ssl.create_default_context(cafile=AUTHORITY)
context.load_cert_chain(CERTIFICATE, KEY)
writing = threading.Event()
writing.set()
lock = threading.Lock()
highest = 0  # version of an acknowledged write
final = None  # version that every watcher has to reach
writes, lists = [], []  # what happened, as its clients saw it


class Lost(Exception):
	"""The connection broke: nobody knows what became of the request."""


class Client:
	def __init__(self):
		self.connection = None

	def close(self):
		if self.connection:
			self.connection.close()
		self.connection = None

	def send(self, method, path, body=None, kind="application/json"):
		try:
			if not self.connection:
				self.connection = http.client.HTTPSConnection("127.0.0.1", 6443, timeout=20, context=context)
			headers = {"Content-Type": kind} if body is not None else {}
			self.connection.request(method, path, json.dumps(body) if body is not None else None, headers)
			return self.connection.getresponse()
		except (OSError, http.client.HTTPException) as e:
			self.close()
			raise Lost(str(e)) from e

	def ask(self, *args):
		answer = self.send(*args)
		try:
			return answer.status, json.loads(answer.read())
		except (OSError, http.client.HTTPException, ValueError) as e:
			self.close()
			raise Lost(str(e)) from e

	def insist(self, *args):
		"""For reads: asked again until the server is back."""
		end = time.monotonic() + PATIENCE
		while True:
			try:
				return self.ask(*args)
			except Lost:
				if time.monotonic() > end:
					raise
				time.sleep(0.02)


def version(o):
	return int(o["metadata"]["resourceVersion"])


def content(o):
	data = o.get("data") or {}
	return data.get("word"), data.get("base")


# -- those who act ------------------------------------------------------------------------------------


def plan(who, n, key, known):
	"""One write on what was known of its key: (what, base version, method, path, body, kind)."""
	word, path = "%s-%d" % (who, n), BASE + "/" + key
	if known is None:
		body = {"metadata": {"name": key, "labels": {"history": "yes"}}, "data": {"word": word, "base": "new"}}
		return "create", None, ("POST", BASE, body)
	base = version(known)
	draw = random.random()
	if draw < 0.15:
		return "delete", base, ("DELETE", path, {"preconditions": {"uid": known["metadata"]["uid"],
			"resourceVersion": str(base)}})
	if draw < 0.35:
		return "patch", base, ("PATCH", path, {"data": {"word": word, "base": "any"}}, "application/merge-patch+json")
	known = json.loads(json.dumps(known))
	known["data"] = {"word": word, "base": str(base)}
	return "swap", base, ("PUT", path, known)


def write_one(client, who, n, key):
	global highest
	code, known = client.insist("GET", BASE + "/" + key)
	what, base, request = plan(who, n, key, known if code == 200 else None)
	row = {"what": what, "key": key, "word": "%s-%d" % (who, n), "base": base, "begin": time.monotonic(),
		"uid": known["metadata"]["uid"] if code == 200 else None, "code": None, "version": None}
	try:
		row["code"], answer = client.ask(*request)
		if row["code"] in (200, 201) and what != "delete":
			row["version"] = version(answer)
	except Lost:
		pass
	row["end"] = time.monotonic()
	with lock:
		writes.append(row)
		if row["version"]:
			highest = max(highest, row["version"])


def writer(who):
	client, n = Client(), 0
	while writing.is_set():
		n += 1
		write_one(client, who, n, random.choice(KEYS))


def read_list(client, limit):
	"""A list, whole or in pages; None where its moment was forgotten between two pages."""
	path, items, at = BASE + "?labelSelector=history" + ("&limit=%d" % limit if limit else ""), {}, None
	more = ""
	while True:
		code, page = client.insist("GET", path + more)
		if code == 410:
			return None
		for o in page["items"]:
			items[o["metadata"]["name"]] = (version(o), content(o)[0])
		at = at or version(page)
		if version(page) != at:
			return -1, items
		token = page["metadata"].get("continue")
		if not token:
			return at, items
		more = "&continue=" + token


def lister(limit):
	client = Client()
	while writing.is_set():
		with lock:
			least = highest
		got = read_list(client, limit)
		if got:
			with lock:
				lists.append({"least": least, "at": got[0], "items": got[1]})


class Watcher(threading.Thread):
	def __init__(self, selector):
		super().__init__()
		self.selector, self.events, self.trouble, self.breaks, self.marks = selector, [], [], 0, 0
		client = Client()
		code, page = client.insist("GET", BASE + "?labelSelector=history")
		assert code == 200
		self.first = self.at = version(page)
		self.state = {o["metadata"]["name"]: (version(o), content(o)[0]) for o in page["items"]}
		client.close()

	def take(self, e):
		o = e["object"]
		if e["type"] == "ERROR":
			self.trouble.append("ERROR after %d: %s" % (self.at, o.get("message")))
			return False
		if e["type"] == "BOOKMARK":
			self.marks += 1
			if version(o) < self.at:
				self.trouble.append("bookmark %d after %d" % (version(o), self.at))
		else:
			if version(o) <= self.at:
				self.trouble.append("%s %d after %d" % (e["type"], version(o), self.at))
			self.events.append((version(o), e["type"], o["metadata"]["name"], o["metadata"]["uid"]) + content(o))
		self.at = max(self.at, version(o))
		return True

	def watch(self, client):
		answer = client.send("GET", "%s?watch=1&allowWatchBookmarks=true&resourceVersion=%d&timeoutSeconds=%d%s" % (
			BASE, self.at, random.randint(2, 8), self.selector))
		while final is None or self.at < final:
			line = answer.readline()
			if not line:
				return
			if not line.endswith(b"\n"):
				raise ValueError("half an event")
			if not self.take(json.loads(line)):
				return

	def run(self):
		client, end = Client(), None
		while not self.trouble and (final is None or self.at < final):
			if final is not None:
				end = end or time.monotonic() + PATIENCE
				if time.monotonic() > end:
					self.trouble.append("ends at %d, not at %d" % (self.at, final))
			try:
				self.watch(client)
			except (Lost, OSError, http.client.HTTPException, ValueError):
				time.sleep(0.02)
			client.close()
			self.breaks += 1


# -- the judge ----------------------------------------------------------------------------------------


def say(what, wrong):
	print("ok - " + what if not wrong else "not ok - %s (%d)" % (what, len(wrong)))
	for line in wrong[:5]:
		print("  #", line)


def same_events(watchers, reference):
	wrong = []
	for i, w in enumerate(watchers):
		want = [e for e in reference if e[0] > w.first]
		if w.events == want:
			continue
		for a, b in zip(w.events + [None], want + [None]):
			if a != b:
				wrong.append("watcher %d: %s where the first saw %s" % (i, a, b))
				break
	return wrong


def replay(state, events, want):
	"""The states at the versions in `want`; what does not follow from what was before."""
	wrong, states, state, at = [], {}, dict(state), 0
	want = sorted(want, reverse=True)
	for v, kind, key, _, word, base in events + [(float("inf"), None, None, None, None, None)]:
		while want and want[-1] < v:
			states[want.pop()] = dict(state)
		if kind is None:
			break
		had = state.get(key)
		if (kind == "ADDED") == (had is not None):
			wrong.append("%s of '%s' at %d, which was %s" % (kind, key, v, had))
		if kind == "MODIFIED" and base.isdigit() and had and had[0] != int(base):
			wrong.append("a swap on %s of '%s' succeeded at %d, which was at %d" % (base, key, v, had[0]))
		if kind == "DELETED":
			state.pop(key, None)
		else:
			state[key] = (v, word)
	return states, wrong


def lost_writes(reference):
	made = {e[4]: e for e in reference if e[1] != "DELETED"}
	deleted = {e[3] for e in reference if e[1] == "DELETED"}
	wrong = []
	for w in writes:
		event = made.get(w["word"])
		if w["what"] == "delete":
			if w["code"] == 200 and w["uid"] not in deleted:
				wrong.append("lost: %s" % w)
		elif w["version"] and (not event or event[0] != w["version"] or event[2] != w["key"]):
			wrong.append("lost: %s, the event is %s" % (w, event))
		elif w["code"] and w["code"] >= 300 and event:
			wrong.append("refused and done: %s" % w)
	return wrong


def twice(reference):
	words = [e[4] for e in reference if e[1] != "DELETED"]
	seen, wrong = set(), []
	for word in words:
		if word in seen:
			wrong.append(word)
		seen.add(word)
	swapped = {}
	for w in writes:
		if w["what"] == "swap" and w["version"]:
			if (w["key"], w["base"]) in swapped:
				wrong.append("%s and %s" % (w, swapped[w["key"], w["base"]]))
			swapped[w["key"], w["base"]] = w
	return wrong


def backwards():
	"""What ended before another began has the lower version."""
	wrong, done = [], sorted((w for w in writes if w["version"]), key=lambda w: w["end"])
	most, i = 0, 0
	for w in sorted(done, key=lambda w: w["begin"]):
		while i < len(done) and done[i]["end"] < w["begin"]:
			most = max(most, done[i]["version"])
			i += 1
		if w["version"] <= most:
			wrong.append("%s after version %d was acknowledged" % (w, most))
	return wrong


def moments(states):
	wrong = []
	for l in lists:
		if l["at"] < 0:
			wrong.append("pages of two moments")
		elif l["at"] < l["least"]:
			wrong.append("a list at %d after %d was acknowledged" % (l["at"], l["least"]))
		elif l["items"] != states[l["at"]]:
			wrong.append("at %d: %s is not %s" % (l["at"], l["items"], states[l["at"]]))
	return wrong


def judge(watchers):
	reference = watchers[0].events
	wanted = {l["at"] for l in lists if l["at"] >= 0}
	states, wrong = replay(watchers[0].state, reference, wanted)
	odd = ["%s" % w for w in writes if w["code"] and w["code"] not in (200, 201, 404, 409)]
	unknown = sum(w["code"] is None for w in writes)
	figures = "%d writes (%d without an answer, %d refused), %d events, %d lists, %d watches, %d bookmarks" % (
		len(writes), unknown, sum(bool(w["code"] and w["code"] >= 300) for w in writes), len(reference), len(lists),
		sum(w.breaks for w in watchers), sum(w.marks for w in watchers))
	say("there is a history: " + figures, [] if len(reference) > 10 and lists else [figures])
	say("versions only rise, no watch is refused", sum((w.trouble for w in watchers), []))
	say("every watcher sees every event, once, in order", same_events(watchers, reference))
	say("an event follows from the one before it, a swap from its version", wrong)
	say("no acknowledged write is lost, no refused one is done", lost_writes(reference))
	say("nothing is done twice", twice(reference))
	say("versions follow the order of acknowledgements", backwards())
	say("a list is one moment, not older than what was acknowledged", moments(states))
	say("answers are those of a cluster", odd)


def main():
	global final
	# Two selectors that all fit, so that selection is on the way too.
	watchers = [Watcher("&labelSelector=history" if i % 2 == 0 else "&labelSelector=history%3Dyes") for i in range(WATCHERS)]
	actors = [threading.Thread(target=writer, args=("w%d" % i,)) for i in range(WRITERS)]
	actors += [threading.Thread(target=lister, args=(limit,)) for limit in (0, 3)[:LISTERS]]
	for t in watchers + actors:
		t.start()
	while not os.path.exists(STOP):
		time.sleep(0.05)
	writing.clear()
	for t in actors:
		t.join()
	code, last = Client().insist("POST", BASE, {"metadata": {"name": "end", "labels": {"history": "yes"}},
		"data": {"word": "end", "base": "new"}})
	assert code == 201, last
	at, items = read_list(Client(), 0)
	lists.append({"least": version(last), "at": at, "items": items})
	final = version(last)
	for w in watchers:
		w.join()
	judge(watchers)


main()
