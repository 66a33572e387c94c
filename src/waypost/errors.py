"""Every error code of Waypost, in one table, and the one exception that carries them.

Owns: the codes (stable: a code is never renamed or reused), their HTTP status where a door may answer
with them, whether trying again can help, and what the reader should do.
Reads and writes nothing. Never decides anything: rooms raise, edges map foreign errors to these.
"""

from typing import NamedTuple


class ErrorSpec(NamedTuple):
    """One code: `http_status` is 0 where no door answers with it."""

    http_status: int
    retriable: bool
    meaning: str
    remedy: str


ERRORS: dict[str, ErrorSpec] = {
    # --- door: what a caller is answered -------------------------------------------------------------
    "unknown_path": ErrorSpec(404, False, "no such path", "see the list of paths in the README"),
    "unknown_link": ErrorSpec(404, False, "the catalog has no such link", "check the link's name"),
    "unknown_pair": ErrorSpec(404, False, "no link joins this offer and this partner", "add a link to the catalog"),
    "missing_link": ErrorSpec(
        400, False, "a click names neither a link nor offer= and partner=", "use /c/LINK or /c?offer=&partner="
    ),
    "link_inactive": ErrorSpec(
        410, False, "the link's offer, partner or advertiser is not active", "activate it in the catalog"
    ),
    "bad_target": ErrorSpec(
        500, False, "the offer's URL did not render to a valid address", "correct the offer's url in the catalog"
    ),
    "wrong_token": ErrorSpec(403, False, "no advertiser has this token", "send the advertiser's token"),
    "missing_token": ErrorSpec(403, False, "the call carries no token", "add token= to the URL"),
    "missing_signature": ErrorSpec(
        403, False, "the call is not signed, or carries no timestamp", "sign it as docs/intake.md says"
    ),
    "wrong_signature": ErrorSpec(
        403, False, "the signature is not right", "sign exactly what is sent, as docs/intake.md says"
    ),
    "signature_expired": ErrorSpec(
        403, False, "the signature's timestamp is outside its window", "set the sender's clock, and sign anew"
    ),
    "address_not_allowed": ErrorSpec(
        403, False, "calls may not come from this address", "add it to allow_addresses in the catalog"
    ),
    "wrong_test_key": ErrorSpec(
        403, False, "the Waypost-Test header does not carry this installation's key", "use `waypost test`"
    ),
    "unknown_host": ErrorSpec(421, False, "this door does not answer for this host", "see `domains` in the catalog"),
    "not_a_form": ErrorSpec(415, False, "the body is no form", "send application/x-www-form-urlencoded"),
    "bad_visitor": ErrorSpec(
        400, False, "a server-to-server click names no visitor", "add ip= with the visitor's address"
    ),
    "bad_click": ErrorSpec(400, False, "click_id= names no click that was made here", "send the id as it was given"),
    "origin_not_allowed": ErrorSpec(
        403, False, "pages of this origin may not report", "add it to the advertiser's `browser: {origins: […]}`"
    ),
    "goal_not_allowed": ErrorSpec(
        403, False, "pages may not report this goal", "add it to the advertiser's `browser: {goals: […]}`"
    ),
    "method_not_allowed": ErrorSpec(405, False, "this path does not take this method", "use GET or POST"),
    "malformed_request": ErrorSpec(400, False, "the request is not HTTP/1.x", "send a well-formed request"),
    "url_too_long": ErrorSpec(414, False, "the request line is over the limit", "shorten the URL"),
    "headers_too_large": ErrorSpec(431, False, "the headers are over the limit", "send fewer headers"),
    "body_too_large": ErrorSpec(413, False, "the body is over the limit", "send a smaller body"),
    "bad_line": ErrorSpec(
        400, False, "a call among many is no JSON object, or its token or idempotency_key is no text", "see its line"
    ),
    "line_too_long": ErrorSpec(413, False, "a call among many is over the limit", "send what is needed only"),
    "batch_malformed": ErrorSpec(400, False, "the body cannot be read", "see the message"),
    "batch_too_large": ErrorSpec(413, False, "the unpacked body, or its calls, are over the limit", "send fewer calls"),
    "unknown_encoding": ErrorSpec(415, False, "the body is packed in an unknown way", "use gzip or zstd"),
    "too_many_batches": ErrorSpec(503, True, "the door receives as many large bodies as it may", "try again"),
    "too_many_streams": ErrorSpec(503, True, "the door holds as many streams as it may", "use one stream a sender"),
    "door_draining": ErrorSpec(
        503, True, "the door is being replaced; what it has acknowledged is stored", "connect again, send the rest"
    ),
    "too_many_connections": ErrorSpec(503, True, "the door holds as many connections as it may", "try again"),
    "too_many_requests": ErrorSpec(
        429, True, "this address sends more than it may that is refused, or more clicks", "correct what is refused"
    ),
    "too_many_from_address": ErrorSpec(
        429, True, "this address holds as many connections as it may", "keep connections open and use them again"
    ),
    "request_timeout": ErrorSpec(408, True, "the request did not arrive in time", "try again"),
    "journal_unavailable": ErrorSpec(
        503, True, "the call could not be made durable", "try again after Retry-After seconds"
    ),
    "journal_stalled": ErrorSpec(
        503, True, "the disk did not answer in time; whether the call is stored is unknown", "send it again, unchanged"
    ),
    "journal_full": ErrorSpec(
        503, True, "the journal has reached its bound on disk", "look for the lagging reader, then try again"
    ),
    "internal_error": ErrorSpec(500, False, "the door made a mistake", "see the door's log, and report this"),
    "no_catalog": ErrorSpec(503, True, "no catalog has been applied yet", "run `waypost catalog apply`"),
    # --- catalog: what a wrong file gets -------------------------------------------------------------
    "catalog_not_found": ErrorSpec(0, False, "the catalog file or folder is not there", "check --catalog"),
    "catalog_syntax": ErrorSpec(0, False, "the file is not YAML", "correct the line"),
    "catalog_version": ErrorSpec(0, False, "`waypost:` is not a version this release reads", "write `waypost: 1`"),
    "catalog_unknown_key": ErrorSpec(0, False, "a key that means nothing here", "see the hint, or remove it"),
    "catalog_missing_key": ErrorSpec(0, False, "a key that must be there is not", "add it"),
    "catalog_wrong_type": ErrorSpec(0, False, "a value of another kind than this key takes", "correct it"),
    "catalog_bad_value": ErrorSpec(0, False, "a value that this key cannot have", "correct it"),
    "catalog_duplicate": ErrorSpec(0, False, "the same name or token is given twice", "keep one"),
    "catalog_unknown_name": ErrorSpec(0, False, "a name that nothing in the catalog has", "see the hint"),
    "catalog_not_available": ErrorSpec(
        0, False, "a section that is reserved and not available yet", "remove it until a release has it"
    ),
    "catalog_template": ErrorSpec(0, False, "a template that does not compile", "see the column and the hint"),
    "catalog_secret": ErrorSpec(0, False, "an env: or file: secret cannot be read", "set the variable or the file"),
    "catalog_busy": ErrorSpec(0, True, "another process is applying a catalog", "try again"),
    "catalog_too_large": ErrorSpec(0, False, "the catalog is over a bound", "see the bound in the settings"),
    # --- macros: what a template gets ----------------------------------------------------------------
    "macro_syntax": ErrorSpec(0, False, "the template does not follow the grammar", "see the column"),
    "macro_unknown": ErrorSpec(0, False, "no macro has this name", "see the hint"),
    "macro_unknown_filter": ErrorSpec(0, False, "no filter has this name", "see the hint"),
    "macro_bad_argument": ErrorSpec(0, False, "a filter's argument is missing or of the wrong kind", "see the text"),
    "macro_in_host": ErrorSpec(0, False, "a macro stands in the URL's scheme, host or port", "write the host out"),
    "macro_foreign": ErrorSpec(0, False, "a macro of another system's dialect", "import the template"),
    "macro_placeholder": ErrorSpec(0, False, "a placeholder was left in", "fill it in"),
    "macro_too_large": ErrorSpec(0, False, "template or output is over its bound", "shorten it"),
    "macro_no_value": ErrorSpec(0, False, "a macro whose policy is to refuse has no value", "see why it is missing"),
    "macro_no_rate": ErrorSpec(0, False, "an amount cannot be converted: a rate is not known", "add it to the rates"),
    "macro_secret": ErrorSpec(0, False, "a template's secret cannot be read here", "set the variable or the file"),
    "macro_value": ErrorSpec(0, False, "a filter cannot work on this value", "check the value, or add default()"),
    "macro_not_url": ErrorSpec(0, False, "the template is not an http or https URL", "write a whole URL"),
    "macro_adapted": ErrorSpec(0, False, "translated, with a difference", "check that it is meant so"),
    "macro_unfilled": ErrorSpec(0, False, "a macro that no click parameter fills", "add one to the click URL"),
    "macro_missing": ErrorSpec(0, False, "a template without any macro", "add the macros that tell postbacks apart"),
    "macro_encoded": ErrorSpec(0, False, "a macro whose signs are percent-encoded", "write the signs themselves"),
    "macro_parameter": ErrorSpec(0, False, "a URL's parameter that looks misspelled", "see the hint"),
    "macro_bytes": ErrorSpec(0, False, "the text is not UTF-8", "save the file as UTF-8"),
    # --- checks: why a call was refused (docs/checks.md) are in stages/checks.py, with their texts ----
    # --- pipeline ------------------------------------------------------------------------------------
    "poisonous_item": ErrorSpec(0, False, "an item could not be processed; it was set aside", "see `waypost trace`"),
    "unreadable_frame": ErrorSpec(0, False, "a frame that this release cannot decode", "upgrade, then replay"),
    # --- courier: why an attempt failed --------------------------------------------------------------
    "render_failed": ErrorSpec(0, False, "the template did not render", "correct the rule"),
    "render_bad_url": ErrorSpec(0, False, "the template rendered to no valid URL", "correct the rule"),
    "render_bad_header": ErrorSpec(0, False, "a header's value carries a line break", "correct the rule"),
    "template_missing": ErrorSpec(0, False, "the rule's version is no longer in the catalog store", "restore it"),
    "address_forbidden": ErrorSpec(
        0, False, "the address is private, local or reserved", "start with --allow-target CIDR if it is meant"
    ),
    "port_forbidden": ErrorSpec(0, False, "the port is not allowed", "use 80, 443 or an allowed port"),
    "dns_failed": ErrorSpec(0, True, "the host name does not resolve", "check the name"),
    "connect_failed": ErrorSpec(0, True, "no connection", "the partner may be down"),
    "source_address_failed": ErrorSpec(
        0, True, "cannot send from the lane's source address", "see that this machine has it, and which kind it is"
    ),
    "proxy_failed": ErrorSpec(0, True, "the lane's proxy did not let the request through", "see the text"),
    "tls_failed": ErrorSpec(0, True, "the TLS handshake failed", "see the text"),
    "tls_version": ErrorSpec(0, True, "the partner offers no TLS that is new enough", "TLS 1.2 is the least"),
    "tls_expired": ErrorSpec(0, True, "the partner's certificate is out of date", "the partner must renew it"),
    "tls_wrong_name": ErrorSpec(0, True, "the partner's certificate is for another name", "check the URL's host"),
    "tls_untrusted": ErrorSpec(
        0, True, "no authority that is trusted signed the partner's certificate", "see courier.authorities_file"
    ),
    "send_timeout": ErrorSpec(0, True, "no whole answer in time", "the partner may be slow"),
    "first_byte_timeout": ErrorSpec(0, True, "the answer did not begin in time", "the partner may be slow"),
    "send_failed": ErrorSpec(0, True, "the exchange broke off", "the partner may be unwell"),
    "http2_failed": ErrorSpec(0, True, "an error of HTTP/2", "see the text; `http2: false` has HTTP/1.1 spoken"),
    "response_missing": ErrorSpec(0, True, "the connection was closed without an answer", "the partner may be unwell"),
    "response_cut": ErrorSpec(0, True, "the answer is shorter than it says", "the partner may be unwell"),
    "response_chunks": ErrorSpec(0, True, "the answer's chunks are malformed", "check the partner's address"),
    "response_headers": ErrorSpec(0, True, "the answer's headers are over the bound", "the partner answers too much"),
    "response_too_large": ErrorSpec(0, True, "the answer is over the bound", "the partner answers too much"),
    "response_malformed": ErrorSpec(0, True, "the answer is not HTTP", "check the partner's address"),
    "http_status": ErrorSpec(0, True, "the partner answered with a status that is no success", "see the status"),
    "status_final": ErrorSpec(0, False, "the partner answered with a status that is final", "see the status"),
    "answer_refused": ErrorSpec(0, True, "the answer's body says that it was not taken", "see the body"),
    "answer_unreadable": ErrorSpec(0, True, "the answer is not the JSON that the rule expects", "see the body"),
    "item_refused": ErrorSpec(0, True, "the answer says that this item of the batch was not taken", "see the body"),
    "item_missing": ErrorSpec(0, True, "the answer says nothing of this item of the batch", "see `batch.results`"),
    "item_final": ErrorSpec(0, False, "the answer says that this item will never be taken", "see the body"),
    "auth_failed": ErrorSpec(0, True, "no token could be got for the request", "check the rule's `auth.oauth`"),
    "auth_secret": ErrorSpec(0, True, "a secret of the rule cannot be read", "set the variable or the file"),
    "token_rejected": ErrorSpec(0, True, "the partner refused a token that had worked", "nothing: a new one is got"),
    "resend_refused": ErrorSpec(0, True, "a hidden resend by the HTTP library was stopped", "nothing: it is retried"),
    "outcome_unknown": ErrorSpec(0, True, "the courier died between intent and outcome", "nothing: it is marked"),
    # --- stores and runtime --------------------------------------------------------------------------
    "recording_exists": ErrorSpec(0, False, "there is a file of that name", "name another file, or remove it"),
    "recording_gone": ErrorSpec(
        0, False, "the traffic of that time is not held any more", "begin later, or record while it is held"
    ),
    "recording_empty": ErrorSpec(0, False, "there is no traffic of that time", "widen the times"),
    "bad_settings": ErrorSpec(0, False, "a setting that does not exist or a value it cannot have", "see the place"),
    "bad_geo_file": ErrorSpec(0, False, "an MMDB file that cannot be used", "put a valid one there by renaming"),
    "bad_key_ring": ErrorSpec(0, False, "the click-id key ring cannot be read", "restore keys/ from the backup"),
    "bad_id": ErrorSpec(0, False, "this is no id of Waypost", "see docs/glossary.md for the forms of ids"),
    "data_in_use": ErrorSpec(0, False, "another waypost runs on this data folder", "stop it, or use another --data"),
    "data_missing": ErrorSpec(0, False, "the data folder is not there or is empty", "check --data"),
    "data_unwritable": ErrorSpec(0, False, "the data folder cannot be written", "check its owner and free space"),
    "door_in_use": ErrorSpec(0, False, "another process holds this door number", "give the door another number"),
    "journal_in_use": ErrorSpec(0, False, "another process writes this journal", "stop it, or use another number"),
    "port_in_use": ErrorSpec(0, False, "another program listens on this port", "stop it, or choose another port"),
    "cannot_listen": ErrorSpec(0, False, "no socket can listen on this address", "check --host and the port"),
    "store_corrupt": ErrorSpec(0, False, "a store's file is damaged", "restore it; run `waypost audit`"),
    "store_gap": ErrorSpec(0, False, "a reader asks for positions that are gone", "run `waypost audit`"),
    "store_out_of_order": ErrorSpec(0, False, "a batch does not start where the store stands", "report this"),
    "wire_version": ErrorSpec(0, False, "data written by a newer release than this one reads", "upgrade"),
    "fenced": ErrorSpec(0, False, "a newer owner holds this shard", "nothing: this owner must stop"),
    "no_such_shard": ErrorSpec(
        0, False, "lanes are not dealt to so many shards", "set courier.shards; `waypost run` deals them at its start"
    ),
    "not_found": ErrorSpec(0, False, "nothing is known of this id", "check the id; see how far behind the archive is"),
    "audit_failed": ErrorSpec(0, False, "the stores do not agree", "see the list of what is missing"),
    "bad_address_range": ErrorSpec(0, False, "--allow-target takes an address or CIDR range", "e.g. 127.0.0.0/8"),
    "bad_certificate": ErrorSpec(
        0, False, "a certificate or its key cannot be used", "see the file; what was in force goes on"
    ),
    "unknown_job": ErrorSpec(0, False, "there is no such job of resends", "see `waypost resend --list`"),
    "unknown_lane": ErrorSpec(0, False, "there is no such partner or lane", "see `waypost lanes`, or the catalog"),
    "bad_lane_word": ErrorSpec(
        0, False, "what the operator's journal asks of a lane cannot be read", "ask again with `waypost lanes`"
    ),
    "not_running": ErrorSpec(0, True, "no `waypost run` works on this data folder", "start it, or check --data"),
    "not_replaced": ErrorSpec(0, True, "a role was not replaced; the process that worked goes on", "see its log"),
    "role_crashed": ErrorSpec(0, True, "a role died and is started again", "see its log"),
}


class WaypostError(Exception):
    """An error with a stable code, the place it concerns and what to do about it.

    `place` is a `file:line`, a field or an id; `hint` replaces the code's general remedy with a closer one.
    """

    def __init__(self, code: str, detail: str = "", *, place: str = "", hint: str = "") -> None:
        spec = ERRORS[code]  # an unknown code is a mistake of ours: KeyError is right
        self.code = code
        self.detail = detail or spec.meaning
        self.place = place
        self.hint = hint or spec.remedy
        super().__init__(str(self))

    @property
    def spec(self) -> ErrorSpec:
        """The code's row in the table."""
        return ERRORS[self.code]

    def __str__(self) -> str:
        head = f"{self.place}: " if self.place else ""
        return f"{head}{self.detail} [{self.code}] ({self.hint})"
