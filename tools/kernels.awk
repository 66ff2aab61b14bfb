# Lists, from a log of the kernel tests, the features that the kernel lacks, with the tests that were
# skipped, and the tests that failed. tools/kernels.sh writes docs/KERNELS.md with it.

BEGIN {
	why["rings"] = "memory-mapped netlink (Linux 3.14 to 4.5). Upcalls are read with recvmmsg."
	why["upcall-stats"] = "upcall counters of each vport (Linux 6.2). Drops are counted from the sockets alone."
	why["drop-action"] = "the drop action, which has a reason (Linux 6.7). Flows that drop have no actions."
	why["meters"] = "working meters (Linux 4.18). There is no storm control."
	why["dispatch by CPU"] = "upcall sockets by CPU (Linux 5.15). Each port has its own."
	why["features that ovs-dpctl changes"] = "a feature that ovs-dpctl sets (Linux 5.15), which the daemon would undo."
	why["ifindexes of vports"] = "the ifindex of vports (Linux 4.15). It is looked up by name."
	why["second VLAN tags"] = "matches on a second VLAN tag (Linux 4.10). What is behind it cannot be matched."
	why["altnames of devices"] = "altnames of devices (Linux 5.5)."
	why["pidfd_getfd"] = "pidfd_getfd(2) (Linux 5.6). Only tests use it."
}

/^=== (RUN|CONT|NAME) / { test = $3; sub(/\/.*/, "", test) }

match($0, /kernel lacks [^:]+: /) {
	feature = substr($0, RSTART + 13, RLENGTH - 15)
	error = substr($0, RSTART + RLENGTH)
	if ($1 == "SKIP:") {
		whole = $3 !~ /\// # not a subtest
		name = $3
		sub(/[:\/].*/, "", name)
		note(feature, name)
		if (whole) skipped[feature, name] = 1
	} else if ($1 ~ /^[a-z_]+\.go:[0-9]+:$/) {
		note(feature, test)
	} else {
		next
	}
	if (!(feature in errors)) errors[feature] = error
}

$1 == "FAIL:" && NF > 2 { failed[++fails] = substr($0, 7) }

# note adds a test to those of a feature, once.
function note(feature, name) {
	if (!((feature, name) in noted)) {
		noted[feature, name] = 1
		names[feature] = names[feature] " " name
	}
}

# tests returns the tests of a feature that were skipped, or only in part.
function tests(feature, whole,    i, n, all, text) {
	n = split(names[feature], all, " ")
	for (i = 1; i <= n; i++)
		if (whole == ((feature, all[i]) in skipped)) text = text (text ? ", " : "") "`" all[i] "`"
	return text
}

# item prints a list item in lines of at most 120 columns.
function item(text,    words, n, i, line) {
	n = split(text, words, " ")
	line = "-"
	for (i = 1; i <= n; i++) {
		if (length(line) + 1 + length(words[i]) > 120) {
			print line
			line = " "
		}
		line = line " " words[i]
	}
	print line
}

END {
	for (feature in errors) order[++count] = feature
	for (i = 2; i <= count; i++)
		for (j = i; j > 1 && order[j] < order[j - 1]; j--) {
			swap = order[j]
			order[j] = order[j - 1]
			order[j - 1] = swap
		}
	if (count) print "It lacks:\n"
	for (i = 1; i <= count; i++) {
		feature = order[i]
		text = (feature in why ? why[feature] : feature ".") " Error: `" errors[feature] "`."
		if (tests(feature, 1) != "") text = text " Skipped: " tests(feature, 1) "."
		if (tests(feature, 0) != "") text = text " Skipped in part: " tests(feature, 0) "."
		item(text)
	}
	if (!count) print "It lacks nothing that the tests try."
	if (fails) print "\nFailed:\n"
	for (i = 1; i <= fails; i++) item(failed[i])
}
