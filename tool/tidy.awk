# The rules of tool/tidy, one function each; reads tool/tidy.allow first, then C files as clang-format
# leaves them (a function's body begins and ends with a brace in the first column).

BEGIN {
	LINE_MAX = 100; FILE_SOFT = 800; FILE_HARD = 1000
	FUNC_SOFT = 70; FUNC_HARD = 120; PATHS_SOFT = 15; PATHS_HARD = 30; DEPTH_SOFT = 4
	BANNED = "strcpy|strcat|sprintf|vsprintf|strtok|strtol|strtoul|strtoll|strtoull|atoi|atol|gets|" \
		"alloca|system|popen|mktemp|signal|dup|basename|dirname|tmpnam|gethostbyname|getpwnam|" \
		"getpwuid|getgrnam|getgrgid"
	THIRD = "^<(json-c|uv|microhttpd|gnutls|curl|sqlite3|archive|archive_entry|zlib|zstd|isa-l|" \
		"igzip_lib|seccomp|libmnl|libnftnl|ldns|yaml|wslay|Zydis)[./>]"
	MEMBER = "(^|[^A-Za-z0-9_])"
}

function offence(what) {
	printf "%s:%d: %s\n", FILENAME, FNR, what
	offences++
}

function warn(what) {
	printf "%s:%d: note: %s\n", FILENAME, FNR, what
	notes++
}

# May this function exceed that soft limit?
function allowed(kind, name,    key) {
	key = kind " " FILENAME " " name
	if (key in allow) {
		used[key] = 1
		return 1
	}
	return 0
}

# How many columns a line takes, tabs of 8.
function columns(s,    i, n, c) {
	n = 0
	for (i = 1; i <= length(s); i++) {
		c = substr(s, i, 1)
		n = (c == "\t") ? n + 8 - n % 8 : n + 1
	}
	return n
}

# The line without comments, strings and characters; remembers an open comment in `in_comment`.
function code_of(s,    out, i, c, two) {
	out = ""
	for (i = 1; i <= length(s); i++) {
		c = substr(s, i, 1)
		two = substr(s, i, 2)
		if (in_comment) {
			if (two == "*/") { in_comment = 0; i++ }
		} else if (two == "/*") {
			in_comment = 1
			i++
		} else if (two == "//") {
			offence("a // comment")
			break
		} else if (c == "\"" || c == "'") {
			out = out c
			for (i++; i <= length(s) && substr(s, i, 1) != c; i++)
				if (substr(s, i, 1) == "\\") i++
			out = out c
		} else {
			out = out c
		}
	}
	return out
}

function count(s, re,    n) {
	n = gsub(re, "&", s)
	return n
}

function check_include(line,    what, top) {
	what = line
	sub(/^#[ \t]*include[ \t]*/, "", what)
	if (what ~ /^"[^"]*\.\./) offence("'..' in an include")
	if (what ~ THIRD && FILENAME !~ /^src\/ground\//)
		offence("a third-party header outside ground: " what)
	if (what ~ /^<cmocka/ && FILENAME !~ /_(test\.c|fixture\.h)$/) offence("cmocka outside a test")
}

function check_calls(code,    rest, name) {
	rest = code
	while (match(rest, MEMBER "(" BANNED ")[ \t]*\\(")) {
		name = substr(rest, RSTART, RLENGTH)
		# A member or a declared noun of ours with that name is not the libc call.
		if (substr(rest, RSTART, 1) != "." && substr(rest, RSTART, 1) != ">") {
			gsub(/[^a-z]/, "", name)
			offence("banned: " name)
		}
		rest = substr(rest, RSTART + RLENGTH)
	}
	if (code ~ (MEMBER "(sleep|usleep)[ \t]*\\(") && FILENAME !~ /_test\.c$/) offence("banned: sleep")
	if (code ~ (MEMBER "exit[ \t]*\\(") && FILENAME !~ /^src\/cmd\// && !allowed("exit", func_name))
		offence("banned outside cmd: exit in '" func_name "'")
}

function end_function(    lines) {
	lines = FNR - func_line + 1
	functions++
	if (lines > FUNC_HARD) offence("'" func_name "' has " lines " lines, hard limit " FUNC_HARD)
	else if (lines > FUNC_SOFT && !allowed("lines", func_name))
		offence("'" func_name "' has " lines " lines, more than " FUNC_SOFT)
	if (paths > PATHS_HARD) offence("'" func_name "' has " paths " paths, hard limit " PATHS_HARD)
	else if (paths > PATHS_SOFT && !allowed("paths", func_name))
		offence("'" func_name "' has " paths " paths, more than " PATHS_SOFT)
	if (deepest > DEPTH_SOFT && !allowed("depth", func_name))
		offence("'" func_name "' nests " deepest - 1 " deep, more than 3")
}

function check_function(raw, code) {
	if (!in_func) {
		if (raw ~ /^[A-Za-z_].*\(/ && raw !~ /;[ \t]*$/) {
			candidate = raw
			sub(/\(.*/, "", candidate)
			sub(/.*[^A-Za-z0-9_]/, "", candidate)
		}
		if (raw == "{" && candidate != "") {
			in_func = 1
			func_name = candidate
			func_line = FNR
			paths = 1
			depth = 1
			deepest = 1
		}
		return
	}
	if (raw ~ /^}/) {
		end_function()
		in_func = 0
		candidate = ""
		func_name = ""
		return
	}
	# A case label that falls through to the next belongs to it; a loop macro is a loop.
	paths += count(code, "(^|[^A-Za-z0-9_])(if|for|while|[a-z]+_each)[ \t]*\\(") + count(code, "&&|\\|\\||[?]")
	if (code ~ /^[ \t]*case / && last_code !~ /^[ \t]*case [^:]*:[ \t]*$/) paths++
	last_code = code
	depth += count(code, "{") - count(code, "}")
	if (depth > deepest && code !~ /[=,({][ \t]*{/) deepest = depth
}

function end_file() {
	if (file == "") return
	room_lines[room] += file_lines
	room_asserts[room] += file_asserts
	files++
	if (file_lines > FILE_HARD) { print file ": " file_lines " lines, hard limit " FILE_HARD; offences++ }
	else if (file_lines > FILE_SOFT) { print file ": note: " file_lines " lines, soft limit " FILE_SOFT; notes++ }
}

function begin_file() {
	end_file()
	file = FILENAME
	room = file
	sub(/^src\//, "", room)
	sub(/\/[^\/]*$/, "", room)
	file_lines = file_asserts = in_comment = in_func = top_lines = 0
	candidate = func_name = ""
	top_state = 1
}

# The comment at the top: 3 to 15 lines, first thing in the file.
function check_top(raw) {
	if (top_state == 1 && FNR == 1 && raw !~ /^\/\*/) {
		offence("no comment at the top that says what the file is")
		top_state = 0
		return
	}
	top_lines++
	if (raw ~ /\*\//) {
		top_state = 0
		# A .c may leave the contract to its header and say its one idea in a line.
		if (top_lines < (FILENAME ~ /\.h$/ ? 3 : 1) || top_lines > 60) offence("the comment at the top has " top_lines " lines, not 3 to 15 (60 for a theory of operation)")
	}
}

FNR == NR {
	if ($0 !~ /^#/ && NF) {
		if (NF < 4) { print FILENAME ":" FNR ": no reason"; offences++ }
		allow[$1 " " $2 " " $3] = FNR
	}
	next
}
FNR == 1 { begin_file() }
{
	file_lines = FNR
	if (length($0) > 60 && columns($0) > LINE_MAX) offence("longer than " LINE_MAX " columns")
	if ($0 ~ /[ \t]$/) offence("blanks at the end")
	if (top_state) check_top($0)
	if (in_comment && $0 ~ /^[ \t]*\*[A-Za-z0-9`"('{]/) offence("no blank behind the star of a comment")
	code = code_of($0)
	if (code ~ /^#[ \t]*include/) { check_include($0); next }
	if (code ~ /^#/) next
	file_asserts += count(code, "(^|[^A-Za-z0-9_])(static_)?assert[A-Za-z_]*[ \t]*\\(")
	check_calls(code)
	check_function($0, code)
}
END {
	end_file()
	if (whole)
		for (key in allow)
			if (!(key in used)) { print "tool/tidy.allow:" allow[key] ": not needed: " key; offences++ }
	for (r in room_lines)
		printf "%-16s %6d lines, %5.1f asserts per 1,000\n", r, room_lines[r],
			1000 * room_asserts[r] / room_lines[r] | "sort"
	close("sort")
	printf "%d files, %d functions: %d offences, %d notes\n", files, functions, offences, notes
	exit offences > 0
}
