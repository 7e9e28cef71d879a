"""The page as a Jinja template; in a module, because a Flower app bundle carries no HTML files.

The content security policy is the promise that nothing is loaded: the reader's browser keeps it.
"""

PAGE = """
{% macro drawing(figure) %}
<div class="figure" id="{{ figure.name }}" style="height: {{ figure.height }}px"></div>
{% endmacro %}
{% macro section(figure) %}
{% if figure %}
<section>
<h2>{{ figure.title }}</h2>
<p class="note">{{ figure.note }}</p>
{{ drawing(figure) }}
</section>
{% endif %}
{% endmacro %}
{% set facts = page.facts %}
{% set told = ["command", "seed", "model_sha256", "clients", "rounds", "class_names"] %}
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src {{ script_hashes|safe }}; \
style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ page.name }}: {{ page.headline.title }}</title>
<style>{{ style|safe }}</style>
</head>
<body>
<main>
<header>
<p><b>phloem</b> · run {{ page.name }}</p>
<h1>{{ page.headline.title }}</h1>
<p class="lead">{{ page.headline.sentence }}</p>
</header>
<dl class="tiles">
{% for tile in page.headline.tiles %}
<div><dt>{{ tile.label }}</dt><dd class="value">{{ tile.value }}{% if tile.unit %} \
<span>{{ tile.unit }}</span>{% endif %}</dd>
<dd class="behind">{{ tile.note }}</dd></div>
{% endfor %}
</dl>
<dl class="small">
{% for label, value in page.headline.small %}
<div><dt>{{ label }}</dt><dd>{{ value }}</dd></div>
{% endfor %}
</dl>
<noscript><p class="note">The figures need JavaScript; the numbers above and the tables do not.</p></noscript>
{{ section(page.accuracy) }}
{{ section(page.prequential) }}
{{ section(page.anomalies) }}
{{ section(page.drift) }}
{{ section(page.concepts) }}
{{ section(page.mix) }}
{{ section(page.spread) }}
{% if page.costs %}
<section>
<h2>What a measure cost</h2>
<p class="note">Payload up and down until then. A point is a hundredth.</p>
<div class="scroll">
<table>
<thead><tr><th>Measure</th><th>At first</th><th>In the end</th><th>Bytes for a point</th>\
<th class="words">Bytes to reach</th></tr></thead>
<tbody>
{% for cost in page.costs %}
<tr><td>{{ cost.measure }}</td><td>{{ cost.before|percent }}</td>\
<td>{{ cost.after|percent }}</td><td>{{ cost.per_point|bytes }}</td><td class="words">\
{% for target, size in cost.reached %}{{ (100 * target)|round|int }} %: {{ size|bytes }}\
{{ ", " if not loop.last }}{% endfor %}</td></tr>
{% endfor %}
</tbody>
</table>
</div>
</section>
{% endif %}
{{ section(page.bytes) }}
{% if page.ladders %}
<section>
<h2>Where the bytes go</h2>
<p class="note">The mean size of a message after each stage of its codec, from plain float32 (dense) to the \
frame that is sent. ÷ is what the stage alone saves. A message of several steps at once is not shown.</p>
<div class="pair">
{% for figure in page.ladders %}
<div>
<h3>{{ figure.title }}</h3>
<p class="note">{{ figure.note }}</p>
{{ drawing(figure) }}
</div>
{% endfor %}
</div>
</section>
{% endif %}
{{ section(page.distillation) }}
{% if page.rejected %}
<section>
<h2>Rejected updates</h2>
<p class="note">These updates were received and counted, but not aggregated.</p>
<div class="scroll">
<table>
<thead><tr><th>Why</th><th>Updates</th><th>Clients</th><th class="words">For example</th></tr></thead>
<tbody>
{% for code, updates, clients, reason in page.rejected %}
<tr><td>{{ code }}</td><td>{{ updates }}</td><td>{{ clients }}</td><td class="words">{{ reason }}</td></tr>
{% endfor %}
</tbody>
</table>
</div>
<details>
<summary>One by one
{%- if page.rejections|length == rejections_shown %}, the first {{ rejections_shown }}{% endif %}
</summary>
<div class="scroll">
<table>
<thead><tr><th>Round</th>
{% for head in ["Client", "Why", "Reason"] %}
<th class="words">{{ head }}</th>
{% endfor %}
</tr></thead>
<tbody>
{% for row in page.rejections %}
<tr><td>{{ row.round }}</td><td class="words">{{ row.client }}</td><td class="words">{{ row.code }}</td>\
<td class="words">{{ row.reason }}</td></tr>
{% endfor %}
</tbody>
</table>
</div>
</details>
</section>
{% endif %}
{% if page.clients %}
<section>
<h2>Clients</h2>
<p class="note">Payload bytes of all messages, greetings included. A round is joined when an update came back.
{% if page.clients|length == clients_shown %}
The {{ clients_shown }} that cost most; the others are in run.sqlite.
{% endif %}
</p>
<div class="scroll">
<table>
<thead><tr>
{% for head in ["Client", "Messages", "Bytes up", "Bytes down", "Rounds joined", "Rejected"] %}
<th><button type="button">{{ head }}</button></th>
{% endfor %}
</tr></thead>
<tbody>
{% for row in page.clients %}
<tr><td class="name" data-value="{{ row.client }}">{{ row.client }}</td>
<td data-value="{{ row.messages }}">{{ row.messages }}</td>
<td data-value="{{ row.up }}">{{ row.up|bytes }}</td>
<td data-value="{{ row.down }}">{{ row.down|bytes }}</td>
<td data-value="{{ row.rounds }}">{{ row.rounds }}</td>
<td data-value="{{ row.rejected }}">{{ row.rejected }}</td></tr>
{% endfor %}
</tbody>
</table>
</div>
</section>
{% endif %}
<section>
<h2>Do it again</h2>
<p class="note">The same experiment and seed give the same bytes, and so the same two hashes.</p>
<pre class="command"><code>\
{{ facts["command"]|default("phloem simulate experiment.toml", true) }}</code></pre>
<dl class="facts">
<dt>Seed</dt><dd>{{ facts["seed"]|default("not recorded", true) }}</dd>
<dt>Model, SHA-256</dt><dd><code>{{ page.summary.model_sha256 or "not recorded" }}</code></dd>
<dt>Ledger, SHA-256</dt><dd><code>{{ page.summary.ledger_sha256 }}</code></dd>
{% if page.versions %}
<dt>Versions</dt><dd>{{ page.versions }}</dd>
{% endif %}
{% for key, value in facts.items() if key not in told and not key.startswith("version_") %}
<dt>{{ key.replace("_", " ")|capitalize }}</dt><dd>{{ value }}</dd>
{% endfor %}
</dl>
<h3>experiment.toml</h3>
{% if page.experiment is not none %}
<pre><code>{{ page.experiment }}</code></pre>
{% else %}
<p class="note">There is no experiment.toml in the run's folder.</p>
{% endif %}
</section>
<footer>Every size is the length of bytes that were encoded and then decoded by their receiver; 1 kB is 1000
bytes. Payload is the compressed update alone. With envelope and metrics, the carrier was handed
{{ page.summary.uplink.object_bytes|bytes }} up and {{ page.summary.downlink.object_bytes|bytes }} down.
</footer>
</main>
<script type="application/json" id="figures">{{ page.figures|tojson }}</script>
{% for script in scripts %}
<script>{{ script|safe }}</script>
{% endfor %}
</body>
</html>
""".lstrip()
