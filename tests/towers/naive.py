"""MGDSPR's equations, one example at a time, in NumPy loops: what the batched parts are checked against."""

import numpy as np


def array(tensor):
    return tensor.detach().double().numpy()


def softmax(scores):
    exp = np.exp(scores - scores.max(-1, keepdims=True))
    return exp / exp.sum(-1, keepdims=True)


def mean(table, tokens, weight=None):
    """Mean of token vectors; weighted by |weight| if given; zero for no token."""
    total, scale = np.zeros(table.shape[1]), 0.0
    for token in tokens:
        part = 1.0 if weight is None else abs(weight[token, 0])
        total, scale = total + part * table[token], scale + part
    return total / scale if scale else total


def layer_norm(x, module):
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + module.eps)
    return scaled * array(module.weight) + array(module.bias)


def gelu(x):
    from math import erf, sqrt

    return x * 0.5 * (1 + np.vectorize(erf)(x / sqrt(2)))


def self_attention(x, module):
    """Multi-head self-attention of one sequence [T, d], scaled per head."""
    width = x.shape[1]
    size = width // module.heads
    both, value = array(module.query_key.weight), x @ array(module.value.weight).T
    query, key = x @ both[:width].T, x @ both[width:].T
    heads = []
    for head in range(module.heads):
        part = slice(head * size, (head + 1) * size)
        heads.append(softmax(query[:, part] @ key[:, part].T / np.sqrt(size)) @ value[:, part])
    return np.concatenate(heads, axis=1) @ array(module.output.weight).T + array(module.output.bias)


def transformer_block(x, block):
    x = x + self_attention(layer_norm(x, block.before_attention), block.attention)
    hidden = layer_norm(x, block.before_forward)
    first, last = block.forward_layers[0], block.forward_layers[2]
    hidden = gelu(hidden @ array(first.weight).T + array(first.bias))
    return x + hidden @ array(last.weight).T + array(last.bias)


def lstm(x, layer):
    """One LSTM layer over [T, d]; gates in torch's order: input, forget, cell, output."""
    of_input, of_hidden = array(layer.weight_ih_l0), array(layer.weight_hh_l0)
    bias = array(layer.bias_ih_l0) + array(layer.bias_hh_l0)
    hidden = cell = np.zeros(of_hidden.shape[1])
    out = []
    for row in x:
        gates = (of_input @ row + of_hidden @ hidden + bias).reshape(4, -1)
        i, f, o = (1 / (1 + np.exp(-gates[place])) for place in (0, 1, 3))
        cell = f * cell + i * np.tanh(gates[2])
        hidden = o * np.tanh(cell)
        out.append(hidden)
    return np.array(out)


def zero_attention(queries, rows, sharpness=1.0):
    """softmax(sharpness Q . [0; rows]^T) . [0; rows] for queries [G, d] and rows [T, d]."""
    zeros = np.zeros((1, queries.shape[1]))
    slots = np.concatenate([zeros, rows]) if len(rows) else zeros
    return softmax(sharpness * queries @ slots.T) @ slots


def query_unit(unit, tokens, text, past):
    """Eqs. 2 to 8: the six rows of one query. `text`: tokens by unit; `past`: segment tokens of each past query."""
    table = array(tokens.table.weight)
    weight = None if tokens.weight is None else array(tokens.weight.weight)
    gram_1, gram_2, segment = (mean(table, text[name], weight) for name in (unit.gram_1, unit.gram_2, unit.segment))
    sequence = np.zeros_like(segment)
    words = text[unit.segment]
    if words:
        places = np.minimum(np.arange(len(words)), unit.positions.num_embeddings - 1)
        x = table[words] + array(unit.positions.weight)[places]
        for block in unit.blocks:
            x = transformer_block(x, block)
        sequence = x.mean(0)
    history = np.zeros_like(segment)
    if past:
        rows = np.array([mean(table, query, weight) for query in past])
        history = softmax(segment @ rows.T) @ rows
    mix = gram_1 + gram_2 + segment + sequence + history
    return np.array([gram_1, gram_2, segment, sequence, history, mix])


def product_vector(fields, values, title=None):
    """Eqs. 9 and 10: fields (id, leaf, top, brand, shop, price level), concatenated (with the title), projected."""
    tables = [array(fields.ids.weight), *(array(table.weight) for table in fields.codes)]
    parts = [table[value] for table, value in zip(tables, values, strict=True)]
    if title is not None:
        weight = None if fields.tokens.weight is None else array(fields.tokens.weight.weight)
        parts.append(mean(array(fields.tokens.table.weight), title, weight))
    return array(fields.project.weight) @ np.concatenate(parts)


def real_time(encoder, queries, products):
    """Eq. 11 for one shopper; `products` [T, d]."""
    x = products
    if not len(x):
        return np.zeros_like(queries)
    for layer in encoder.lstm.layers:
        x = x + lstm(x, layer)
    return array(encoder.scale)[0] * zero_attention(
        queries, x + self_attention(x, encoder.real_attention), array(encoder.sharpness)
    )


def short_term(encoder, queries, products):
    """Eq. 12 for one shopper."""
    if not len(products):
        return np.zeros_like(queries)
    x = products + self_attention(products, encoder.short_attention)
    return array(encoder.scale)[1] * zero_attention(queries, x, array(encoder.sharpness))


def long_term(encoder, queries, behaviours):
    """Eqs. 13 and 14; `behaviours`: for each action the six fields of its products."""
    fields, total = encoder.fields, np.zeros_like(queries)
    columns = {0: fields.ids, 4: fields.codes[3], 1: fields.codes[0], 3: fields.codes[2], 5: fields.codes[4]}
    for column, table in columns.items():
        table = array(table.weight)
        pools = [np.mean([table[value[column]] for value in values], axis=0) for values in behaviours if len(values)]
        total = total + zero_attention(queries, np.array(pools))
    return array(encoder.scale)[2] * total


def fusion(module, rows):
    """Eq. 15: attention over [CLS; rows], read at [CLS]."""
    x = np.concatenate([array(module.cls)[0], rows])
    for block in module.blocks:
        x = transformer_block(x, block)
    return self_attention(x, module.attention)[0]


def item_side(part, codes):
    """What the coded fields of a product add to its vector."""
    tables = [array(table.weight) for table in part.tables]
    return array(part.project.weight) @ np.concatenate([table[c] for table, c in zip(tables, codes, strict=True)])


def item(tower, item_id, bags):
    """Eq. 16: e_id + tanh(W_t . mean); `bags`: the tokens of each text unit. A length below 1 goes towards the sum."""
    table = array(tower.tokens.table.weight)
    weight = None if tower.tokens.weight is None else array(tower.tokens.weight.weight)
    title = 0.0
    for tokens, usual in zip(bags, array(tower.usual), strict=True):
        total = sum(1.0 if weight is None else abs(weight[token, 0]) for token in tokens)
        title = title + mean(table, tokens, weight) * (total / usual) ** (1.0 - tower.length)
    vector = np.tanh(array(tower.title.weight) @ title + array(tower.title.bias))
    return vector + (array(tower.ids.weight)[item_id] if item_id else 0.0)


def shopper(encoder, windows):
    """MMSE's u of one shopper; `windows`: product vectors [T, d] of the real-time and of the short-term clicks."""
    asking = array(encoder.asking)[0]
    rows = [np.array(window) for window in windows if len(window)]
    return sum(
        (zero_attention(asking, self_attention(x, encoder.attention))[0] for x in rows), np.zeros(len(asking[0]))
    )


def feed_forward(head, groups):
    """UEPPR's head over the groups of one query or product; batch normalisation with its running statistics."""
    x = np.concatenate(groups)
    hidden = array(head.inner.weight) @ x + array(head.inner.bias)
    if hasattr(head.norm, "running_mean"):
        hidden = (hidden - array(head.norm.running_mean)) / np.sqrt(array(head.norm.running_var) + head.norm.eps)
        hidden = hidden * array(head.norm.weight) + array(head.norm.bias)
    else:
        hidden = layer_norm(hidden, head.norm)
    return array(head.skip.weight) @ x + array(head.outer.weight) @ gelu(hidden) + array(head.outer.bias)
