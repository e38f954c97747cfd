package trial

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/stsmapd/stsmapd/cmd/stsmapd/doctor"
)

// mailDomain is the domain of all recipients.
const mailDomain = "stsmapd-trial.invalid"

// instance is a private instance of Postfix with one of the SMTP clients of master.cf.
type instance struct {
	postfix doctor.Postfix
	facts   doctor.Facts
	sender  doctor.Sender

	dir, config, queue, log string
}

// newInstance makes the directories of an instance beside the queue directory, in the same file system.
func newInstance(p doctor.Postfix, f doctor.Facts, sender doctor.Sender) (*instance, error) {
	dir, err := os.MkdirTemp(filepath.Dir(f.Parameters["queue_directory"]), "stsmapd-trial-")
	if err != nil {
		return nil, err
	}
	i := &instance{postfix: p, facts: f, sender: sender, dir: dir, config: filepath.Join(dir, "config"),
		queue: filepath.Join(dir, "queue"), log: filepath.Join(dir, "log", "mail")}
	owner, err := stat(f.Parameters["data_directory"])
	for _, name := range []string{".", "config", "queue", "log", "queue/pid"} { // Postfix's user goes through them
		name = filepath.Join(dir, name)
		err = errors.Join(err, os.MkdirAll(name, 0o755), os.Chmod(name, 0o755)) // whatever the umask is
	}
	for _, name := range append(queues(), "../data") {
		name = filepath.Join(i.queue, name)
		err = errors.Join(err, os.Mkdir(name, 0o700), os.Chown(name, int(owner.Uid), -1))
	}
	if err != nil {
		return nil, errors.Join(err, i.remove())
	}
	return i, nil
}

// queues are the directories of a queue directory that belong to Postfix's user.
func queues() []string {
	return []string{"active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "maildrop",
		"private", "public", "saved", "trace"}
}

// remove ends the instance and removes its directories.
func (i *instance) remove() error {
	text, err := os.ReadFile(filepath.Join(i.queue, "pid", "master.pid"))
	if err == nil {
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil || pid <= 1 {
			return fmt.Errorf("end the private instance in %s: its process id is %q", i.dir, text)
		}
		// master(8) leads a process group, which has all processes of the instance.
		if err := syscall.Kill(-pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("end the private instance in %s: %w", i.dir, err)
		}
	}
	for range 50 { // a process that ends may still make a file
		if err = os.RemoveAll(i.dir); err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

// configure writes the configuration of the instance.
func (i *instance) configure(ctx context.Context, s *servers, policies string) error {
	if err := errors.Join(i.link(), i.fillQueue()); err != nil {
		return err
	}
	info, err := os.Stat(filepath.Join(i.facts.Directory, "main.cf"))
	if err != nil {
		return err
	}
	main, err := i.postfix.Settings(ctx)
	if err != nil {
		return err
	}
	changes, err := i.changes(s, policies)
	if err != nil {
		return err
	}
	client := i.sender.Service()
	master := ownServices + client.Line
	for _, name := range slices.Sorted(maps.Keys(client.Overrides)) {
		if value, ok := changes[name]; ok {
			master += fmt.Sprintf(" -o { %s = %s }", name, value) // the last one counts
		}
	}
	master += "\n"
	for _, service := range i.facts.Services {
		if slices.Contains([]string{"tlsmgr/unix", "tlsproxy/unix", "proxymap/unix"}, service.Name) {
			master += service.Line + "\n"
		}
	}
	return errors.Join(
		os.WriteFile(filepath.Join(i.config, "main.cf"), []byte(i.main(main, changes)), info.Mode().Perm()),
		os.WriteFile(filepath.Join(i.config, "master.cf"), []byte(master), 0o644),
		os.WriteFile(filepath.Join(i.queue, "quick-start"), nil, 0o644), // `postfix start` checks no files
	)
}

// ownServices are what a delivery needs beside the services of the configuration. None listens to a network.
const ownServices = `pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
error unix - - n - - error
retry unix - - n - - error
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
`

// changes returns the settings that the SMTP client has in place of those of the configuration. A value that Postfix
// cannot use stays as it is, for the trial to find.
func (i *instance) changes(s *servers, policies string) (map[string]string, error) {
	service, _, _ := strings.Cut(i.sender.Service().Name, "/")
	routes := ""
	for m := range messages {
		routes += fmt.Sprintf(" { %s = %s:%s }", m.recipient(), service, s.hop(m))
	}
	changes := map[string]string{
		"transport_maps":                   "inline:{" + routes + " }",
		"smtp_tls_policy_maps":             i.sender.PolicyMaps(policies),
		"smtp_tls_enforce_sts_mx_patterns": "no", // an address is in no pattern; match= says the same
		"smtp_tls_loglevel":                "1",  // a verified connection is logged
		"smtp_tlsrpt_enable":               "no",
	}
	if i.sender.Value("smtp_fallback_relay") != "" {
		changes["smtp_fallback_relay"] = s.hop(fallback)
	}
	if text, usable := i.sender.Authorities(); usable {
		file := filepath.Join(i.dir, "ca.pem")
		changes["smtp_tls_CAfile"] = file
		return changes, errors.Join(os.WriteFile(file, slices.Concat(s.ca, text), 0o644), os.Chmod(file, 0o644))
	}
	return changes, nil
}

// main returns main.cf with the changes for the instance: nothing is sent elsewhere, changed, copied, delayed or
// reported. No parameter stands there twice: each program would log that, and postlogd(8) would wait for itself where
// the queue of its socket is full, which has room for 10 messages.
func (i *instance) main(lines string, changes map[string]string) string {
	values := map[string]string{}
	for line := range strings.Lines(lines) {
		name, value, _ := strings.Cut(line, "=")
		values[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	set := func(value string, names ...string) {
		for _, name := range names {
			if _, known := i.facts.Parameters[name]; known {
				values[name] = value
			}
		}
	}
	for name, value := range changes {
		set(value, name)
	}
	set(i.queue, "queue_directory")
	set("pid", "process_id_directory")
	set(filepath.Join(i.dir, "data"), "data_directory")
	set(filepath.Join(i.dir, "data", "random"), "tls_random_exchange_name")
	set(i.log, "maillog_file")
	set(filepath.Dir(i.log), "maillog_file_prefixes")
	set("error:stsmapd postfix --deliver sends nothing else", "default_transport", "relay_transport",
		"local_transport", "virtual_transport")
	set("", "alias_database", "alias_maps", "always_bcc", "body_checks", "canonical_maps", "content_filter",
		"defer_transports", "fallback_transport", "fallback_transport_maps", "header_checks", "local_recipient_maps",
		"masquerade_domains", "milter_header_checks", "mime_header_checks", "multi_instance_directories",
		"multi_instance_group", "multi_instance_name", "multi_instance_wrapper", "mydestination",
		"nested_header_checks", "non_smtpd_milters", "notify_classes", "recipient_bcc_maps",
		"recipient_canonical_maps", "relay_domains", "relayhost", "relocated_maps", "sender_bcc_maps",
		"sender_canonical_maps", "sender_dependent_default_transport_maps", "sender_dependent_relayhost_maps",
		"smtp_tls_session_cache_database", "smtpd_tls_session_cache_database", "lmtp_tls_session_cache_database",
		"virtual_alias_domains", "virtual_alias_maps", "virtual_mailbox_domains", "virtual_mailbox_maps")
	set("no", "multi_instance_enable", "soft_bounce")
	set("ipv4", "inet_protocols")
	set("static:anyone", "authorized_submit_users")
	set("0", "in_flow_delay")
	for name := range i.facts.Parameters {
		if strings.HasSuffix(name, "_rate_delay") {
			set("0", name)
		}
	}
	delete(values, "config_directory")
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(values)) {
		fmt.Fprintf(&b, "%s = %s\n", name, values[name])
	}
	return b.String()
}

// start starts the instance. It is not interrupted: an instance that has started can be ended.
func (i *instance) start(ctx context.Context) error {
	if err := i.postfix.Run(context.WithoutCancel(ctx), nil, "postfix", "-c", i.config, "start"); err != nil {
		log, _ := os.ReadFile(i.log)
		return fmt.Errorf("start a private instance of Postfix: %w\n%s", err, log)
	}
	return nil
}

// submit hands the instance a message for all recipients. It has no sender: nothing is ever returned.
func (i *instance) submit(ctx context.Context) error {
	args := []string{"-C", i.config, "-i", "-f", ""}
	for m := range messages {
		args = append(args, m.recipient())
	}
	text := "From: <postmaster@" + mailDomain + ">\nSubject: trial\n\nA trial of stsmapd postfix --deliver.\n"
	program := filepath.Base(i.facts.Parameters["sendmail_path"])
	if err := i.postfix.Run(ctx, strings.NewReader(text), program, args...); err != nil {
		return fmt.Errorf("submit a message to the private instance: %w", err)
	}
	return nil
}
