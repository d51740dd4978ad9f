/* What lcores write down of a marked packet (trace.h). Nothing here decides anything. */
#include "trace.h"
#include "punt.h"

#include <glb/verdict.h>

#include <rte_cycles.h>

struct rte_mbuf *trace_take(struct trace *trace, unsigned queue)
{
	int state = __atomic_load_n(&trace->state, __ATOMIC_ACQUIRE);

	if (state != TRACE_WAITING || trace->queue != queue ||
	    !__atomic_compare_exchange_n(&trace->state, &state, TRACE_TAKEN, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return NULL; /* another's, or the main lcore has given up */
	return trace->mbuf;
}

void trace_flows_before(struct trace *trace, const struct glb_flow_stats *flows)
{
	trace->hits = flows->hits;
	trace->misses = flows->misses;
}

void trace_decided(struct trace *trace, unsigned worker, const struct loaded *loaded, const struct glb_packet *packet,
		   bool punts, const struct glb_flow_stats *flows)
{
	struct trace_report *report = &trace->report;
	const bool to_kernel = punts && packet->verdict == GLB_VERDICT_PUNT && punt_wanted(packet->reason);

	report->decided = true;
	report->worker = worker;
	report->loaded = loaded;
	report->packet = *packet;
	report->flow = flows->hits != trace->hits ? TRACE_FLOW_HIT :
		       flows->misses != trace->misses ? TRACE_FLOW_MISS : TRACE_FLOW_NOT_ASKED;
	report->punt_class = to_kernel ? (int)glb_punt_classify(packet) : -1;
}

void trace_leaves(struct trace *trace, unsigned port, unsigned queue, const struct rte_mbuf *mbuf)
{
	struct trace_report *report = &trace->report;
	uint32_t left;

	report->encapsulated = true;
	report->out_port = port;
	report->out_queue = queue;
	report->frame_len = mbuf->pkt_len;
	report->frame_kept = left = RTE_MIN(mbuf->pkt_len, (uint32_t)TRACE_FRAME_MAX);
	for (uint8_t *at = report->frame; left != 0; mbuf = mbuf->next) {
		const uint32_t n = RTE_MIN(left, (uint32_t)mbuf->data_len);

		memcpy(at, rte_pktmbuf_mtod(mbuf, const uint8_t *), n);
		at += n;
		left -= n;
	}
}

void trace_end(struct trace *trace, unsigned reason, bool sent)
{
	trace->report.reason = (uint8_t)reason;
	trace->report.verdict = (uint8_t)glb_reason_verdict(reason);
	trace->report.sent = sent;
	trace->report.cycles = rte_rdtsc() - trace->began;
}

void trace_done(struct trace *trace)
{
	__atomic_store_n(&trace->state, TRACE_DONE, __ATOMIC_RELEASE);
}
