#!/bin/sh
# Warns on standard output while a Postfix of this host asks stsmapd for policies, which is about to be removed: mail
# would wait. Prints the commands that remove the map.
set -u
PATH=$PATH:/usr/sbin
command -v postconf >/dev/null || exit 0

# The addresses of stsmapd as main.cf may write them: those of the units, and all that the configuration names, which
# Postfix sees without the path of its chroot.
addresses="unix:/stsmapd/socketmap unix:/var/spool/postfix/stsmapd/socketmap
	$(grep -v '^[[:space:]]*#' /etc/stsmapd/stsmapd.toml 2>/dev/null | grep -oE '"(inet|unix):[^"]*"' | tr -d '"')"
addresses="$addresses $(printf '%s\n' "$addresses" | sed 's,unix:/var/spool/postfix/,unix:/,')"

# asks reports whether a table of smtp_tls_policy_maps is stsmapd.
asks() {
	case $1 in
	socketmap:inet:*:8461:*) return 0 ;;
	esac
	for address in $addresses; do
		case $1 in
		socketmap:"$address":*) return 0 ;;
		esac
	done
	return 1
}

# without prints the tables of a list that are not stsmapd; it fails if stsmapd is not among them.
without() {
	rest='' found=1
	set -f
	for table in $(printf '%s' "$1" | tr ',' ' '); do
		if asks "$table"; then
			found=0
		else
			rest="$rest${rest:+, }$table"
		fi
	done
	set +f
	printf '%s' "$rest"
	return $found
}

commands=$(
	{ postmulti -l 2>/dev/null || postconf -h config_directory | sed 's,^,- - y ,'; } | while read -r _ _ _ dir; do
		option=''
		[ "$dir" = /etc/postfix ] || option=" -c $dir"
		before=''
		if rest=$(without "$(postconf -c "$dir" -h smtp_tls_policy_maps 2>/dev/null)"); then
			before="    postconf$option -e 'smtp_tls_policy_maps = $rest'"
			printf '%s\n' "$before"
		fi
		postconf -c "$dir" -P 2>/dev/null | while IFS='=' read -r name value; do
			case $name in
			*/smtp_tls_policy_maps*)
				! rest=$(without "$value") || printf "    postconf%s -P '%s = %s'\n" "$option" "${name%% *}" "$rest"
				;;
			esac
		done | { ! grep . || before=1; [ -z "$before" ] || printf '    postfix%s reload\n' "$option"; }
	done
)
[ -n "$commands" ] || exit 0
cat <<END
stsmapd: WARNING: Postfix still asks stsmapd (smtp_tls_policy_maps). Without an answer, its mail waits in the queue. To
make Postfix send mail without stsmapd:

$commands

END
