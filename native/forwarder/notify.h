/* Tells a service manager how we are (sd_notify(3)'s protocol: a datagram to $NOTIFY_SOCKET). */
#ifndef FORWARDER_NOTIFY_H
#define FORWARDER_NOTIFY_H

/* Sends `state`, for example "READY=1". Nothing happens when nobody asked for it. Returns 0, 1 when it was sent, or
 * a negative errno. */
int notify_send(const char *state);

/* Packets are being handled, and the control socket answers; this process is the service's main one. */
void notify_ready(void);

/* We are on our way out. */
void notify_stopping(void);

#endif
